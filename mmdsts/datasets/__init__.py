"""mmdsts.datasets"""
